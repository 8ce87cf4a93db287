(() => {
  "use strict";
  const box = document.querySelector(".cards");
  const cards = [...document.querySelectorAll(".card")].map((card, worst) => ({ card, worst, text: null }));
  const find = document.getElementById("find");
  const order = document.getElementById("order");
  const shown = document.getElementById("shown");
  document.getElementById("scripted").hidden = false;

  const textOf = (one) => {
    if (one.text === null) {
      one.text = [...one.card.querySelectorAll("h2, .caption, .verdict")].map((e) => e.textContent).join(" ").toLowerCase();
    }
    return one.text;
  };

  const place = (ordered) => {
    const after = box.nextSibling;
    const parent = box.parentNode;
    box.remove(); // thousands of moves in a page that is shown would cost a second
    box.append(...ordered.map((one) => one.card));
    parent.insertBefore(box, after);
    for (const batch of document.querySelectorAll(".batch")) batch.hidden = !batch.contains(box); // all are in one now
    const label = document.querySelector(".batch:not([hidden]) > summary");
    if (label) label.hidden = label.parentNode.open = true;
  };

  const filter = () => {
    if (document.querySelector(".batch:not([hidden]) ~ .batch:not([hidden])")) place(cards);
    const wanted = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const one of cards) {
      const fits = wanted.every((word) => textOf(one).includes(word));
      one.card.hidden = !fits;
      count += fits;
    }
    shown.textContent = wanted.length ? `${count} of ${cards.length} found` : "";
  };

  const number = (one, key) => {
    if (key === "worst") return one.worst;
    const value = one.card.dataset[key];
    return value === undefined ? NaN : Number(value);
  };

  const sort = () => {
    const key = order.value;
    const sign = "descending" in order.selectedOptions[0].dataset ? -1 : 1;
    const keyed = cards.map((one) => ({ one, value: number(one, key) }));
    keyed.sort((a, b) => {
      if (Number.isNaN(a.value) || Number.isNaN(b.value)) {
        return Number.isNaN(a.value) - Number.isNaN(b.value) || a.one.worst - b.one.worst;
      }
      return sign * (a.value - b.value) || a.one.worst - b.one.worst;
    });
    place(keyed.map(({ one }) => one));
  };

  let waiting = 0;
  find.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 120);
  });
  order.addEventListener("change", sort);
  if (find.value) filter(); // a browser that goes back fills the fields in again
  if (order.value !== "worst") sort();
})();

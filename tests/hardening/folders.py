"""Folders in which something is missing or damaged: data roots, runs, caches, training, downloads."""

from __future__ import annotations

import gzip
import io
import json
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any, Final

from tests.hardening.annotations import MARKER, Harmful, checks, eval_case, no_marker, roots
from tests.hardening.arena import TINY, TINY_LONG, Case, Check, Link, Outcome, in_turn
from tests.hardening.earlier import Later, left_by
from tests.hardening.mutations import ODD_NAMES, mutated, mutated_json
from tests.hardening.tables import MODEL, TEXTS, pictures

CACHE: Final = "here/cache"
"""Below the case's folder, so that what leaves the cache is seen."""

RUN: Final = ("--dataset", "pictogram-foil", "--model", TINY, "--limit", "6")
STATUSES: Final = frozenset({0, 2, 3, 4})

TRAINING: Final = ("--init", TINY_LONG, "--batch-size", "2", "--accumulate", "1", "--epochs", "1", "--workers", "1")
TRAINED: Final = ("--data", "pictogram:4", *TRAINING, "--held-out", "2", "--save-every", "1", "--output", "run")


def cases(random: Random, number: int) -> Iterator[Case]:
    """``number`` cases, every kind in turn; what is quick comes oftener."""
    kinds: tuple[Callable[[Random], Case], ...] = (
        *(_root_case,) * 3,
        *(_archive_case,) * 3,
        *(_download_case,) * 2,
        _resumed_eval_case,
        *(_compared_case,) * 2,
        _vectors_case,
        _prepared_case,
        _trained_case,
    )
    return in_turn(kinds, random, number)


# --- data roots -------------------------------------------------------------------------------------------------------


def _root_case(random: Random) -> Case:
    """A file that is missing, a folder, empty, or a link to nowhere, to itself, or to a device without an end."""
    root = random.choice(roots())
    files: dict[str, bytes] = dict(root.files)
    target = random.choice((random.choice(list(files)), random.choice(root.annotations)))
    change = random.randrange(7)
    content = files.pop(target)
    folder = target.rpartition("/")[0]
    picture = target not in root.annotations
    if change == 1:
        files[f"{target}/"] = b""
    elif change == 2:
        files[target] = b""
    elif change == 3:
        files[target] = Link(random.choice((target.rpartition("/")[2], "nowhere", "..", "/")).encode())
    elif change == 4 and picture:
        files[target] = Link(random.choice((b"/dev/zero", b"/dev/null", b"/proc/self/mem")))
    elif change == 5 and folder:  # a file where a folder should be
        files = {name: one for name, one in files.items() if not name.startswith(f"{folder}/")}
        files[folder] = content
    elif change == 6:
        files = {f"{name}.gz" if name == target else name: one for name, one in {**files, target: content}.items()}
    return eval_case("data roots", root, files)


# --- runs of eval -----------------------------------------------------------------------------------------------------


def _resumed_eval_case(random: Random) -> Case:
    def files(random: Random) -> dict[str, bytes]:
        left = dict(left_by(Case("", "eval", (*RUN, "--output", "run"), {})))
        target = random.choice(["run/samples.jsonl", "run/samples.jsonl", "run/run.json", "run/result.json"])
        left[target] = _damaged(random, target, left[target])
        if random.random() < 0.3:
            left.pop("run/result.json", None)
        return left

    limit = random.choice(("6", "6", "8"))
    arguments = (*RUN[:-1], limit, "--output", "run", "--resume", "--format", "json")
    return Case("resumed eval", "eval", arguments, Later(random, files), statuses=frozenset({0, 2, 3}))


def _compared_case(random: Random) -> Case:
    def files(random: Random) -> dict[str, bytes]:
        left = dict(left_by(Case("", "eval", (*RUN, "--output", "run"), {})))
        left |= {name.replace("run/", "other/", 1): content for name, content in left.items()}
        target = random.choice(["run/samples.jsonl", "run/result.json", "other/result.json"])
        change = random.random()
        content = left.pop(target)
        if 0.1 <= change < 0.2:
            left[f"{target}/"] = b""
        elif change >= 0.2:
            left[target] = _damaged(random, target, content)
        return left

    arguments = ("--compare", "run", "other", "--format", random.choice(("json", "table")))
    return Case("compared eval", "eval", arguments, Later(random, files), statuses=frozenset({0, 2}))


def _damaged(random: Random, name: str, content: bytes) -> bytes:
    text = name.endswith((".json", ".jsonl"))
    if not text or random.random() < 0.4:
        return mutated(random, content, text=text)
    if name.endswith(".jsonl"):
        return mutated_json(random, [json.loads(line) for line in content.splitlines()], lines=True)
    return mutated_json(random, json.loads(content))


# --- kept vectors -----------------------------------------------------------------------------------------------------


def _vectors_case(random: Random) -> Case:
    """Damaged vectors of classes or crops are no reason to fail, and change no number."""
    environment = {"CLIPALIGN_CACHE": CACHE}
    if random.random() < 0.5:
        command, kind, earlier, key = "classify", "kept class vectors", "earlier.json", "classes"
        files: dict[str, bytes] = {**pictures(), "labels.txt": b"dog\ncat\nred car\n"}
        arguments: tuple[str, ...] = (
            "0.png", "--labels", "labels.txt", "--method", "clip", *MODEL["classify"], "--format", "json",
        )  # fmt: skip
    else:
        command, kind, earlier, key = "eval", "kept vectors of pictures", "earlier/result.json", "metrics"
        root = next(one for one in roots() if one.dataset == "dtd")
        files = {f"data/{name}": content for name, content in root.files.items()}
        arguments = ("--dataset", "dtd", "--data-root", "data", "--method", "clip", *MODEL["classify"])
        arguments += ("--format", "json")

    def kept(random: Random) -> dict[str, bytes]:
        line = (*arguments, "--quiet", "--output", earlier.partition("/")[0])
        left = dict(left_by(Case("", command, line, files, environment=environment)))
        names = [name for name in left if name.endswith(".safetensors")]
        for name in names if random.random() < 0.3 else random.sample(names, 1):
            content = left.pop(name)
            folder = random.random() < 0.1
            left[f"{name}/" if folder else name] = b"" if folder else mutated(random, content, text=False)
        return left

    def same(outcome: Outcome) -> Iterable[str]:
        if outcome.status == 0:
            found, wanted = json.loads(outcome.stdout), json.loads((outcome.folder / earlier).read_bytes())
            if found[key] != wanted[key]:
                yield f"{key} are not those of the run before: {found[key]}, not {wanted[key]}"

    return Case(
        kind, command, arguments, Later(random, kept), statuses=frozenset({0, 3}), environment=environment, check=same
    )


# --- training ---------------------------------------------------------------------------------------------------------


def _raw_rows() -> list[dict[str, Any]]:
    end = "Nothing else is there. It rains on the long street."
    return [
        {"image": f"{index}.png", "text": f"A red square on a table. {text}. {end}"} for index, text in enumerate(TEXTS)
    ]


def _prepared_case(random: Random) -> Case:
    """Raw captions with something wrong are prepared; prepared samples with something wrong are trained on."""
    files: dict[str, bytes] = dict(pictures())
    raw = b"".join(json.dumps(row).encode() + b"\n" for row in _raw_rows())
    prepare = ("--prepare", "raw.jsonl", "--data", "data", "--workers", "1")
    if random.random() < 0.5:
        ending = random.choice((".jsonl", ".json", ".jsonl.gz"))
        content = mutated_json(random, _raw_rows(), lines=ending != ".json")
        files[f"raw{ending}"] = (
            mutated(random, gzip.compress(content, mtime=0), text=False) if ending.endswith("gz") else content
        )
        line = ("--prepare", f"raw{ending}", *prepare[2:], "--format", "json")
        return Case("raw captions", "train-specs", line, files, statuses=frozenset({0, 2, 3}))

    def damaged(random: Random) -> dict[str, bytes]:
        left = dict(left_by(Case("", "train-specs", prepare, {**files, "raw.jsonl": raw})))
        target = random.choice([name for name in left if name.startswith("data/")])
        left[target] = _damaged(random, target, left[target])
        return left

    arguments = ("--data", "data", *TRAINING, "--held-out", "0", "--output", "run", "--format", "json")
    return Case(
        "prepared samples", "train-specs", arguments, Later(random, damaged), statuses=frozenset({0, 2, 3})
    )  # fmt: skip


def _trained_case(random: Random) -> Case:
    """A run of two steps whose checkpoint, settings or metrics are damaged is resumed."""

    def files(random: Random) -> dict[str, bytes]:
        left = dict(left_by(Case("", "train-specs", TRAINED, {})))
        target = random.choice([name for name in left if name.startswith("run/")])
        change = random.random()
        content = left.pop(target)
        if change < 0.15:
            return left
        harmful = change < 0.3 and target.endswith(".pt")
        left[target] = _harmful_state(random) if harmful else _damaged(random, target, content)
        return left

    arguments = (*TRAINED, "--resume", "--format", "json")
    return Case(
        "checkpoints of a run", "train-specs", arguments, Later(random, files), statuses=STATUSES, check=no_marker
    )


def _harmful_state(random: Random) -> bytes:
    import torch

    stream = io.BytesIO()
    content: object = random.choice(
        (Harmful(), {"step": Harmful()}, {"step": 1}, [], {"step": "x", "settings": None}, torch.zeros(2))
    )
    torch.save(content, stream)
    return stream.getvalue()


# --- downloads --------------------------------------------------------------------------------------------------------


def _archive_case(random: Random) -> Case:
    """``download --from`` with an archive that is wrong, or that does what none of a data set does."""
    name = random.choice(("Urban1k.zip", "Urban1k.tar", "Urban1k.tgz"))
    content = _zip(random) if name.endswith(".zip") else _tar(random, compressed=name.endswith("tgz"))
    if random.random() < 0.3:
        content = mutated(random, content, text=False)
    arguments = ("urban1k", "--from", name, "--accept-license", "urban1k", "--cache-dir", CACHE, "--format", "json")
    return Case(
        "archives for download", "download", arguments, {name: content, "here/kept.txt": b"mine"},
        statuses=frozenset({0, 2, 4}), check=checks(no_marker, only_within(f"{CACHE}/datasets/urban1k/", name)),
    )  # fmt: skip


def only_within(place: str, *given: str) -> Check:
    """Nothing was made outside ``place``, what was ``given`` is as it was, and there are no links."""

    def check(outcome: Outcome) -> Iterable[str]:
        for name in given:
            if (outcome.folder / name).read_bytes() != outcome.case.files[name]:
                yield f"{name} was changed"
        for path in outcome.folder.rglob("*"):
            name = path.relative_to(outcome.folder).as_posix()
            if path.is_symlink() and name not in outcome.case.files:
                yield f"{name} is a link"
            elif path.is_file() and not name.startswith(place) and name not in outcome.case.files:
                yield f"{name} was written"
        if (outcome.folder.parent / MARKER).exists() or outcome.folder.parent.joinpath("escaped").exists():
            yield "something was written outside the case's folder"
        if outcome.status != 0 and any(outcome.folder.joinpath(place).glob("Urban1k/**/*.txt")):
            yield "a refused archive left files behind"

    return check


ESCAPES: Final = (
    "../escaped", "../../escaped", "../../../../escaped", "Urban1k/../../../escaped", "..\\..\\escaped", "/tmp/escaped",
    "C:\\escaped", "Urban1k//../../x", "./../escaped", "Urban1k/caption/..", "~/escaped", *ODD_NAMES[1:],
)  # fmt: skip
"""Names that lead out, or are none."""

_GOOD: Final = {"Urban1k/caption/1.txt": b"A red car on a street.", "Urban1k/image/1.jpg": b"\xff\xd8\xff"}


def _members(random: Random) -> list[tuple[str, bytes]]:
    members = list(_GOOD.items())
    change = random.randrange(5)
    if change == 0:
        members.insert(random.randrange(3), (random.choice(ESCAPES), b"x"))
    elif change == 1:
        members.append(members[0])
    elif change == 2:
        members.append(
            (random.choice(("Urban1k", "Urban1k/caption", "Urban1k/caption/1.txt/2", "URBAN1K/x", "urban1k/ x")), b"x")
        )
    elif change == 3:
        del members[random.randrange(2)]
    return members


def _tar(random: Random, *, compressed: bool) -> bytes:
    """A tar whose members are files, or links that lead out, devices, pipes, or of a size that is a lie."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in _members(random):
            member = tarfile.TarInfo(name.replace("\0", "").encode("utf-8", "replace").decode() or "x")
            member.size = len(content)
            if random.random() < 0.2:
                member.type = random.choice(
                    (
                        tarfile.SYMTYPE,
                        tarfile.LNKTYPE,
                        tarfile.CHRTYPE,
                        tarfile.BLKTYPE,
                        tarfile.FIFOTYPE,
                        tarfile.CONTTYPE,
                    )
                )
                member.linkname = random.choice((*ESCAPES, "1.txt", "Urban1k/caption/1.txt", "."))
                member.linkname = member.linkname.replace("\0", "").encode("utf-8", "replace").decode()
                member.size = 0 if member.type != tarfile.CONTTYPE else member.size
            if random.random() < 0.2:
                member.mode, member.uid = random.choice(((0o6777, 0), (0, 2**20), (0o7777, 1)))
            tar.addfile(member, io.BytesIO(content))
    content = gzip.compress(stream.getvalue(), mtime=0) if compressed else stream.getvalue()
    if compressed and random.random() < 0.2:
        return content[: random.randrange(len(content))]
    return content


def _zip(random: Random) -> bytes:
    """A zip whose members are files, or links, encrypted, bombs, or of a size that is a lie."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice, which is meant
        for name, content in _members(random):
            info = zipfile.ZipInfo(name.replace("\0", "").encode("utf-8", "replace").decode() or "x")
            info.compress_type = zipfile.ZIP_DEFLATED
            kind = random.randrange(8)
            if kind == 0:
                info.external_attr = (random.choice((stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR)) | 0o777) << 16
                content = random.choice(ESCAPES).encode("utf-8", "replace")
            elif kind == 1:
                content = bytes(random.choice((100_000, 2_000_000)))
            archive.writestr(info, content)
    whole = bytearray(stream.getvalue())
    lie = random.randrange(6)
    central = whole.rfind(b"PK\x01\x02")
    if lie == 0:  # encrypted
        whole[central + 8] |= 1
    elif lie == 1:  # unpacked size
        whole[central + 24 : central + 28] = random.choice(
            (b"\xff\xff\xff\x7f", b"\x00\x00\x00\x00", b"\x01\x00\x00\x00")
        )
    elif lie == 2:  # a method that is none
        whole[central + 10] = random.choice((1, 9, 12, 14, 99))
    return bytes(whole)


def _download_case(random: Random) -> Case:
    """What was downloaded is damaged and verified or removed; odd names are asked for."""
    change = random.randrange(3)
    outside = {"here/kept.txt": b"mine", "here/cache/datasets/kept.txt": b"mine too"}
    if change == 0:
        word = random.choice(
            (*ODD_NAMES[1:], "../urban1k", "urban1k/..", "datasets", "ViT-B-32@", "@", "pictogram", "..@x")
        )
        word = word.replace("\0", "").encode("utf-8", "replace").decode() or "x"
        flag = random.choice(("--remove", "--verify", "--dry-run", "--list"))
        return Case(
            "odd names for download", "download", (flag, "--cache-dir", CACHE, "--format", "json", "--", word), outside,
            statuses=STATUSES, check=_untouched(*outside),
        )  # fmt: skip
    flag = "--verify" if change == 1 else "--remove"

    def files(random: Random) -> dict[str, bytes]:
        left = dict(left_by(Case("", "download", _FETCH, {"Urban1k.zip": _good_zip(), **outside})))
        target = random.choice([name for name in left if "urban1k/" in name])
        linked = not target.endswith(".json") and random.random() < 0.3
        left[target] = Link(b"../../../../kept.txt") if linked else _damaged(random, target, left[target])
        return left

    arguments = ("urban1k", flag, "--cache-dir", CACHE, "--format", random.choice(("json", "table")))
    return Case(
        "downloads damaged", "download", arguments, Later(random, files), statuses=STATUSES, check=_untouched(*outside)
    )


_FETCH: Final = ("urban1k", "--from", "Urban1k.zip", "--accept-license", "urban1k", "--cache-dir", CACHE)


def _good_zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as zipped:
        for name, content in _GOOD.items():
            zipped.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()


def _untouched(*names: str) -> Check:
    def check(outcome: Outcome) -> Iterable[str]:
        for name in names:
            path = outcome.folder / name
            if not path.is_file() or path.read_bytes() != outcome.case.files[name]:
                yield f"{name} is gone or changed"

    return check

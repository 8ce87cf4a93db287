"""Results as one page that needs nothing but itself: no network, no other file, no JavaScript to be read."""

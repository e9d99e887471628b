"""Objects picked by hand: from boxes, points and painted masks in some frames to masks in all of them."""

"""What stands out in a picture, by a small network that was trained on pictures of things."""

"""A local page to play with: estimates of any model, card and length, as the commands give them."""

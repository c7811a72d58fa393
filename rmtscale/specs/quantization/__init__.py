"""How weights are stored in fewer bits: layouts of one matrix, and which matrices have them."""

"""The bAbI stories 1 to 5 (Weston et al. 2015): grammar, generators, the original files."""

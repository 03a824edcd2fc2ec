"""When is each loop and ticket due? Clocks that start, stand still, move and run out."""

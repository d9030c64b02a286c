"""What a game is: rules as a pure step over rooms kept as rows. Nothing in this folder does I/O."""

"""What is measured with: games and servers that are not part of what is installed."""

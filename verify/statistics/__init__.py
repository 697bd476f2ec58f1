"""What a verdict rests on: fits of a slope, paired differences, the words it may use, and where numbers come from."""

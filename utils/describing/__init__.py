"""What a data set holds: statistics of every branch in one pass, its histograms, and where its files differ."""

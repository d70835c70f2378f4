"""What training a network is, whatever library computes it."""

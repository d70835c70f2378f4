"""Networks in Keras on TensorFlow: the estimator, its loop, optimizers and schedules, and a network to begin with."""

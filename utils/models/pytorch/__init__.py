"""Networks in torch: the estimator, its loop, optimizers and schedules, and networks to begin with."""

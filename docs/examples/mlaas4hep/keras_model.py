"""A Keras model in MLaaS4HEP's form."""

import keras


def model(idim):
    """`idim` inputs, two classes."""
    network = keras.Sequential(
        [
            keras.layers.Input((idim,)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    network.compile(optimizer=keras.optimizers.Adam(1e-3), loss="binary_crossentropy", metrics=["accuracy"])
    return network

"""A torch module in MLaaS4HEP's form, which trains itself."""

import torch
from torch import nn


class Network(nn.Module):
    """`idim` inputs, the probability of class 1."""

    def __init__(self, idim):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(idim, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x):
        """(B, idim) → (B, 1)."""
        return torch.sigmoid(self.layers(x))

    def torch_train(self, model, train_loader, val_loader):
        """Called with every chunk."""
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in range(5):
            model.train()
            for features, target in train_loader:
                optimizer.zero_grad()
                nn.functional.binary_cross_entropy(model(features), target).backward()
                optimizer.step()


def model(idim):
    """Without a `torch_train`, it would be trained with Adam and cross entropy."""
    return Network(idim)

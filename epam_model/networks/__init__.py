"""Networks: plain modules with flat keyword arguments, which return features or logits."""

"""Programs that people watch their experiments with, fed from the stream of events: TensorBoard, Weights & Biases,
trackio, Prometheus. Each needs a package of its own, which is imported only where it was asked for."""

"""`gossip train cifar10`: see `--help`."""

from launch import train

if __name__ == "__main__":
    train("cifar10")

"""`gossip train imagenet`: see `--help`."""

from launch import train

if __name__ == "__main__":
    train("imagenet")

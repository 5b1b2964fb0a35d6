"""Swarms around the training loops of others: one callback for each of their trainers.

    integrations.transformers.GossipCallback    for the Trainer of Hugging Face transformers, and those of TRL
    integrations.lightning.GossipCallback       for Lightning's Trainer

accelerate needs none: `gossip()` takes what `accelerator.prepare` returns. Each of these modules imports the library
that it is for, which this package does not install; nothing else here imports them.
"""

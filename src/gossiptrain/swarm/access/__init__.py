"""Who may take part in a private swarm: invites, credentials, revocations, and the secret that members share."""

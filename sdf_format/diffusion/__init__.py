"""The walk from noise to a latent (§7), its schedules (§4.2), and their fit to a picture."""

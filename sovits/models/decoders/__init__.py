"""The four ways of turning a latent into sound."""

"""What attackers and mistakes send, on a real Engine."""

"""What the use cases need of the outside, in their own words; adapters implement it."""

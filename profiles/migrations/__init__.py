"""The steps that lead from an empty database to `profiles.tables`, run when a store is opened."""

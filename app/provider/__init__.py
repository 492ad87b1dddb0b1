"""The provider: takes comparisons over HTTP, answers 200 or 202, keeps the ledger, calls judges, publishes results."""

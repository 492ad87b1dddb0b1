"""The provider's ledger: every accepted request, until its one outcome has been delivered."""

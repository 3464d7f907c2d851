"""The bridge's memory on disk: every record before it is published, until Kafka has it. The format is in `contracts/journal.md`."""

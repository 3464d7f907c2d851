"""What strategies and risk import: positions in their own process, fills in order, a gate, and intents.

`from execpos import PositionView, StrategyRunner, RiskGate, IntentWriter`; docs/clients.md says what each number means and when it fails.
"""

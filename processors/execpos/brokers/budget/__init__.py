"""How often the broker may be asked: one budget of a login, shared by everything that asks."""

from execpos.brokers.budget.budget import Blackout, Budget
from execpos.brokers.budget.limits import BudgetLimits, Group, Rate, State

__all__ = ["Blackout", "Budget", "BudgetLimits", "Group", "Rate", "State"]

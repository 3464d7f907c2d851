"""The broker SinoPac through its library Shioaji. Importing this imports no Shioaji and starts nothing."""

from execpos.brokers.shioaji.broker import BrokerOptions, ShioajiBroker
from execpos.brokers.shioaji.credentials import Credentials

__all__ = ["BrokerOptions", "Credentials", "ShioajiBroker"]

"""Frozen networks and measurements that describe sound."""

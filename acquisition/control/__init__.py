"""Steering a scan from outside its process: pause, resume, skip, stop, abort."""

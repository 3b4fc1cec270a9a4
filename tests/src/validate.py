"""Reads {"schema": ..., "values": [...]} and prints what is wrong with the values, one sentence a line."""

import json
import sys

from jsonschema import Draft202012Validator

asked = json.load(sys.stdin)
Draft202012Validator.check_schema(asked["schema"])
validator = Draft202012Validator(asked["schema"])
for number, value in enumerate(asked["values"]):
    for error in validator.iter_errors(value):
        print(f"value {number}, {error.json_path}: {error.message}")

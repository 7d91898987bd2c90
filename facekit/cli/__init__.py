"""The command line: each verb calls one public function and prints its result."""

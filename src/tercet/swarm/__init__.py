"""The swarm: one person, a goal, a budget, and the agents that work for it.

It plans, thinks through its own gateway, writes everything into one tamper-evident journal, and asks its person little.
Nothing here knows the terminal; `cli` opens runs and shows them.
"""

"""The labels that say which run and which process a container or network belongs to."""

#: Id of the run.
RUN_LABEL = "cmonlab"
#: Short name of the container.
NAME_LABEL = "cmonlab.name"
#: The process; see `cmonlab.system.ownership`.
OWNER_LABEL = "cmonlab.owner"
#: Addresses, separated by spaces, that a lab gave the container because the engine gives it none.
ADDRESS_LABEL = "cmonlab.address"

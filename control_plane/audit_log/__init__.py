"""The audit log: records of every source, verified on arrival, chained, proved again on demand."""

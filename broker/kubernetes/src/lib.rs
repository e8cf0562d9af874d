//! The config store of a shard on Kubernetes: its `QueueShard`, by get, watch and compare-and-set. For brokers, whose account
//! may touch that one object, and for the operator.

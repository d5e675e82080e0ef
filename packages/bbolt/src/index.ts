/** bbolt files, the form in which snapshots travel. Knows nothing of what the buckets mean. */
export {};

/** Names of queues and types: safe in URLs, keys, metrics and file names. */
export const NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;

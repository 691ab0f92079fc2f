-- Renewals of tokens and wrong codes of second factors are counted in rate_counters from now on. What these tables hold is
-- minutes old, or an hour at most, and is counted afresh.
DROP TABLE token_counts;
DROP TABLE mfa_failures;

-- Keys of devices that sign nobody in until they are shown together with a sign-in that their owner began in another way: the
-- owner ended every sign-in of the account, or changed or reset the password. What such a key signs still counts.
CREATE TABLE signed_out_devices (
    tenant_id TEXT NOT NULL,
    device_key BLOB NOT NULL,
    user_id TEXT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, device_key)
);

-- A reference is the mean of up to three photos. Their hashes, 32 bytes each, one after the other; the first one stays in
-- image_sha256, where older servers look.
ALTER TABLE face_references ADD COLUMN more_images BLOB;

-- An ingestion may take what its workbooks say anew for news, and not for a conflict.
ALTER TABLE __S__.ingestions ADD COLUMN restate boolean NOT NULL DEFAULT false;

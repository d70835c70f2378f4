"""Where files are, and how their bytes are reached: here, XRootD, HTTP, WebHDFS, S3."""

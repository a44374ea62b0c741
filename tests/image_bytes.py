"""Images as the bytes of files."""

import io


def encoded(image, file_format, **options):
    """Returns the file that Pillow writes of an image."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()

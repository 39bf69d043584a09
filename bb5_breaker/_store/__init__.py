"""All that knows Redis: names of keys, scripts, codec, clients, and where Redis comes from."""

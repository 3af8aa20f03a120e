"""Lua scripts, each atomic on the server: for :mod:`transformer.cache.leases` and :mod:`transformer.callers.usage`.

Each script's keys lie in one cluster slot. A lease's value is its fencing token: the server's time in microseconds,
so that a later lease has a later token, and the holder's name, so that no two are equal. Scripts send their effects
to replicas, not themselves, so reading the time in them is sound (Redis 5 and later).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Script:
    """Lua source with the name that servers know it by once they ran it."""

    source: str
    sha: str


def _script(source: str) -> Script:
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


ACQUIRE = _script(
    """
local value = redis.call('GET', KEYS[1])
if value then return {'value', value} end
if redis.call('EXISTS', KEYS[2]) == 1 then return {'busy'} end
local now = redis.call('TIME')
local token = now[1] .. string.format('%06d', now[2]) .. '-' .. ARGV[1]
redis.call('SET', KEYS[2], token, 'PX', ARGV[2])
return {'token', token}
"""
)
"""Keys: value, lease. Arguments: holder, milliseconds. Takes the lease, unless there is a value or another holder."""

RENEW = _script(
    """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
)
"""Keys: lease. Arguments: token, milliseconds. 1 if the lease is still the token's."""

STORE_AND_RELEASE = _script(
    """
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then return 0 end
if not holder and redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local stored = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if holder then redis.call('DEL', KEYS[2]) end
return stored
"""
)
"""Keys: value, lease. Arguments: token, value, milliseconds. Stores and gives the lease back, even where the server
is full. 0 if another holds the lease, or held it and is done: the token is an old one then."""

RELEASE = _script(
    """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""
)
"""Keys: lease. Arguments: token. 1 if the lease was the token's."""

CHARGE = _script(
    """
local used = tonumber(redis.call('GET', KEYS[1]) or '0')
local characters, limit, owed = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[7])
if owed ~= 0 then
    used = math.max(0, used + owed)
    redis.call('SET', KEYS[1], string.format('%.0f', used), 'PX', ARGV[6])
end
if ARGV[3] == '0' then return {'ok', used, 0} end
if limit >= 0 and used + characters > limit then return {'quota', used, 0} end
local interval, burst = tonumber(ARGV[4]), tonumber(ARGV[5])
if interval > 0 then
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    local free_at = math.max(now, tonumber(redis.call('GET', KEYS[2]) or '0'))
    local wait = free_at - now - burst + interval
    if wait > 0 then return {'rate', used, wait} end
    local lifetime = math.ceil((free_at + interval - now) / 1000) + 1000
    redis.call('SET', KEYS[2], string.format('%.0f', free_at + interval), 'PX', lifetime)
end
used = used + characters
redis.call('SET', KEYS[1], string.format('%.0f', used), 'PX', ARGV[6])
return {'ok', used, 0}
"""
)
"""Keys: characters used, time of the next free request (microseconds). Arguments: characters, their limit or -1, 0 to
only look, microseconds between requests or 0, microseconds' worth of requests in a burst, lifetime of the counter in
milliseconds, characters that were counted elsewhere and are added without a check. Returns ok, quota or rate, the
characters used, and the microseconds to wait."""

REFUND = _script(
    """
local used = tonumber(redis.call('GET', KEYS[1]) or '0')
local back = math.min(used, tonumber(ARGV[1]))
if back > 0 then redis.call('SET', KEYS[1], string.format('%.0f', used - back), 'KEEPTTL') end
return back
"""
)
"""Keys: characters used. Arguments: characters. Takes them back; the counter keeps its lifetime."""

NEXT_NUMBER = _script(
    """
local number = tonumber(redis.call('GET', KEYS[1]) or '0') + 1
redis.call('SET', KEYS[1], string.format('%.0f', number))
return number
"""
)
"""Keys: a counter. The next number; the first is 1."""

REPLACE = _script(
    """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
)
"""Keys: a value. Arguments: the value that it must have, empty for none, and the one that replaces it. 0 if it has
another."""

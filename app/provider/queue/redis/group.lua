-- The group: all changes of this call, and what there is to tell of the ledger afterwards.

local function next_due()
  return tonumber(call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2])
end

read_counts()
local due_before = next_due()
local answers = {}
local at = 7
while at <= #ARGV do
  local size = tonumber(ARGV[at + 1])
  answers[#answers + 1] = changes[ARGV[at]](unpack(ARGV, at + 2, at + 1 + size))
  at = at + 2 + size
end
write_counts()

local due = next_due()
if edge or (due and (not due_before or due < due_before)) then
  call('PUBLISH', PREFIX .. 'news', SENDER .. ' ' .. (edge and '1' or '') .. ' ' .. (text(due) or ''))
end
local told = {text(now), stirred and '1' or '', text(due) or ''}
for lane, of in pairs(counts) do
  if of.queued + of.leased + of.answered > 0 then
    told[#told + 1] = lane
    told[#told + 1] = of.queued
    told[#told + 1] = of.leased
    told[#told + 1] = of.answered
  end
end
return {answers, told}
